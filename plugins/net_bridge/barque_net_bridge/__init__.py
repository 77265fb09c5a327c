"""Network drivers of Barque: `bridge`, `none` and `host`.

The bridge driver speaks to the kernel itself: links, addresses and routes over rtnetlink (`netlink`, `rtnetlink`),
firewall through libnftables (`nft`, `ruleset`, `firewall`). `switch` ties them together, `plugin` is its hooks.
"""
