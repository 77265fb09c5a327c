"""The conformance kit for authors of plugins, and what Barque's own tests share: census, canary, fakes."""
