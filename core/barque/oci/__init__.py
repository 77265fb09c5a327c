"""OCI and Docker documents: references, image configs, and the runtime's config.json from a container's configuration."""
