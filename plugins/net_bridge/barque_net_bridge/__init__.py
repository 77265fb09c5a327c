"""Network drivers of Barque: `bridge`, `none` and `host`.

The bridge driver speaks to the kernel itself: links, addresses and routes over rtnetlink (`netlink`, `rtnetlink`, `surroundings`),
firewall through libnftables (`nft`, `ruleset`, `guarding`, `firewall`). `networks` has the networks with their `subnets` and `bridges`,
`endpoints` the containers' ends with their `interfaces` and `ports`; `plugin` is its hooks.
"""
