SUFFIX = "pipeline"
