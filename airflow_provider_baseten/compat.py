"""Names that moved between the supported versions of Airflow and that the common compatibility provider lacks."""

try:
    from airflow.sdk.exceptions import TaskDeferralTimeout
except ImportError:  # Airflow 3.1
    from airflow.exceptions import TaskDeferralTimeout  # type: ignore[no-redef]

try:
    from airflow.sdk import RetryDecision, RetryPolicy

    KNOWS_RETRY_POLICY = True
except ImportError:  # Airflow below 3.3
    RetryDecision, RetryPolicy = None, object  # type: ignore[assignment, misc]
    KNOWS_RETRY_POLICY = False

__all__ = ["KNOWS_RETRY_POLICY", "RetryDecision", "RetryPolicy", "TaskDeferralTimeout"]
