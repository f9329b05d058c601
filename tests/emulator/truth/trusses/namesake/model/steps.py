SUFFIX = "namesake"
