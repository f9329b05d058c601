class ModelFaultError(Exception):
    pass
