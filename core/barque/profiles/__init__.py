"""Engine profiles: TOML files that choose drivers and their options, validated. Start at `loading.load_profile`."""
