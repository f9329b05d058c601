"""Names that moved between the supported versions of Airflow and that the common compatibility provider lacks."""

try:
    from airflow.sdk.exceptions import TaskDeferralTimeout
except ImportError:  # Airflow 3.1
    from airflow.exceptions import TaskDeferralTimeout  # type: ignore[no-redef]

__all__ = ["TaskDeferralTimeout"]
