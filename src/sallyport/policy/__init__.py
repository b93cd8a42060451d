"""Policy: what may be done, by whom, to what. Pure: no clock, no I/O."""

from sallyport.policy.access import ACCESS_REFUSED
from sallyport.policy.document import PolicyError
from sallyport.policy.explain import Explanation, explain
from sallyport.policy.policy import Policy, compile  # noqa: A004
from sallyport.policy.verdict import AccessGiven, Context, Quota, Verdict

__all__ = [
    "ACCESS_REFUSED",
    "AccessGiven",
    "Context",
    "Explanation",
    "Policy",
    "PolicyError",
    "Quota",
    "Verdict",
    "compile",
    "explain",
]
