"""Whether a filter needs a seccomp agent; what talks to the agent is in `seccomp_notify`, for those who do."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.seccomp_notify import Agent
    from barque_runtime_native.spec import Section

NOTIFY = "SCMP_ACT_NOTIFY"


def notifies(seccomp: Section) -> bool:
    """Whether any action hands calls to an agent."""
    return seccomp.text("defaultAction") == NOTIFY or any(
        rule.text("action") == NOTIFY for rule in seccomp.sections("syscalls")
    )


def plan_agent(seccomp: Section) -> Agent | None:
    """The agent, or None when the profile needs none. Errors: as `check_agent`."""
    needed = notifies(seccomp)
    if not needed and not seccomp.has("listenerPath") and not seccomp.has("listenerMetadata"):
        return None
    # Imported for those who need it.
    from barque_runtime_native.seccomp_notify import Agent, check_agent

    check_agent(seccomp, notifies=needed)
    return Agent(seccomp) if needed else None
