class ModelFault(Exception):
    pass
