"""What can be said of `linux.seccomp` without its compiler: the flags, and whether there is to be an agent.

What talks to the agent is in `notify`, for those who have one.
"""

from __future__ import annotations

from barque.spi.errors import InvalidArgument
from barque_runtime_native.seccomp.filter import NEW_LISTENER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque_runtime_native.seccomp.notify import Agent
    from barque_runtime_native.spec import Section

NOTIFY = "SCMP_ACT_NOTIFY"
# seccomp(2)
FLAG_TSYNC, FLAG_WAIT_KILLABLE_RECV = 1, 32
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": FLAG_TSYNC, "SECCOMP_FILTER_FLAG_LOG": 2, "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": FLAG_WAIT_KILLABLE_RECV,
}  # fmt: skip


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
    from barque_runtime_native.seccomp.notify import Agent, check_agent

    check_agent(seccomp, notifies=needed)
    return Agent(seccomp) if needed else None


def read_flags(section: Section) -> int:
    """Flags for seccomp(2). Errors: InvalidArgument for one that is not known.

    TSYNC has no effect in a process of one thread, and the kernel does not take it together with a listener. Waiting
    killably is about the listener's answers: without one it is left out, as libseccomp does.
    """
    flags = 0
    for word in section.texts("flags"):
        if word not in FLAGS:
            raise InvalidArgument(
                f"{section.path('flags')}: seccomp flag {word!r} not supported",
                hint="known: " + ", ".join(FLAGS),
            )
        flags |= FLAGS[word]
    flags &= ~FLAG_TSYNC
    return flags | NEW_LISTENER if notifies(section) else flags & ~FLAG_WAIT_KILLABLE_RECV
