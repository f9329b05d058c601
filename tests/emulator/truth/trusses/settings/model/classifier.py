class Classifier:
    def __init__(self, config, data_dir, secrets, lazy_data_resolver=None, environment=None):
        self._config = config
        self._data_dir = data_dir
        self._secrets = secrets
        self._environment = environment
        self._labels = []

    def load(self):
        self._labels = (self._data_dir / "labels.txt").read_text().split()

    def predict(self, model_input):
        return {
            "labels": self._labels,
            "secret": self._secrets[model_input["secret"]],
            "metadata": self._config["model_metadata"],
            "name": self._config["model_name"],
            "concurrency": self._config["runtime"]["predict_concurrency"],
            "environment": self._environment,
        }
