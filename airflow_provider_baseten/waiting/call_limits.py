"""Limits of a status or cancel call, on a worker and in a triggerer."""

# Seconds to wait for the response.
CALL_TIMEOUT = 30.0
# Number of attempts. The client does not retry, because the pollers themselves repeat a status call that failed.
CALL_ATTEMPTS = 1
