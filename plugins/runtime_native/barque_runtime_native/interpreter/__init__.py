"""How `barque-runtime` starts its interpreter: once, and out of a container's reach (CVE-2019-5736)."""
