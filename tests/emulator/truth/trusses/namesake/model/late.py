LATE = "imported in a request"
