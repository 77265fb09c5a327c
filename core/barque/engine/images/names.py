"""Image names: canonical ones in the store, familiar ones for people, and finding an image by either."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol, TypeVar

from barque.oci.reference import DEFAULT_DOMAIN, Reference, parse_reference, registry_domain
from barque.spi.errors import BarqueError, InvalidArgument, NotFound

__all__ = ["ImageNames"]

_ID = re.compile(r"(?:sha256:)?([0-9a-f]{1,64})")


class _Named(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def digests(self) -> tuple[str, ...]: ...


N = TypeVar("N", bound=_Named)


class ImageNames:
    """Knows the schemes of the profile's image sources, and where names without a host lead."""

    def __init__(self, schemes: tuple[str, ...], default_registry: str = DEFAULT_DOMAIN) -> None:
        self._schemes = schemes
        try:
            self.default_registry = registry_domain(default_registry)
        except InvalidArgument as error:
            raise InvalidArgument(f"images.default_registry: {error.message}", hint=error.hint) from error

    def parse(self, reference: str) -> Reference:
        """A reference without a scheme, complete. Errors: InvalidArgument."""
        return parse_reference(reference, self.default_registry)

    def familiar(self, name: str) -> str:
        """As Docker shows it; a name with a scheme stays as it is."""
        try:
            return self.parse(name).familiar(self.default_registry)
        except BarqueError:
            return name

    def for_source(self, reference: str) -> tuple[str, str]:
        """The scheme, and what its source is asked for; a registry is asked by the complete name. Errors: InvalidArgument."""
        scheme, rest = self.split_scheme(reference)
        return (scheme, rest) if scheme else ("", self.parse(rest).full)

    def split_scheme(self, reference: str) -> tuple[str, str]:
        """`deb:bash` -> ("deb", "bash"); anything without a known scheme -> ("", reference)."""
        scheme, colon, rest = reference.partition(":")
        return (scheme, rest) if colon and scheme in self._schemes and rest else ("", reference)

    def canonical(self, reference: str) -> str:
        """What the store calls it. Errors: InvalidArgument."""
        scheme, _ = self.split_scheme(reference)
        return reference if scheme else self.parse(reference).name

    def given(self, asked: str, resolved: str) -> tuple[str, ...]:
        """The names a pull gives: the source's, and with a scheme also what the user wrote, so that it is found again.
        By digest: none."""
        own = (self.canonical(resolved),) if resolved and "@sha256:" not in resolved else ()
        return tuple(dict.fromkeys((asked, *own))) if self.split_scheme(asked)[0] else own

    def is_id(self, ref: str, image_id: str) -> bool:
        """Whether `ref` means the image by its id."""
        match = _ID.fullmatch(ref)
        return bool(match) and image_id[7:].startswith(match.group(1) if match else "-")

    def find(self, ref: str, images: Mapping[str, N]) -> N:
        """By id, name, digest or unique prefix of an id. Errors: NotFound, InvalidArgument (ambiguous)."""
        if ref in images:
            return images[ref]
        image = self._by_name(ref, images)
        if image is not None:
            return image
        match = _ID.fullmatch(ref)
        matches = [i for id, i in images.items() if match and id[7:].startswith(match.group(1))]
        if len(matches) > 1:
            raise InvalidArgument(f"image reference {ref} is ambiguous: {len(matches)} images begin so")
        if not matches:
            raise NotFound(
                f"No such image: {self._shown(ref)}",
                hint="`docker images` shows what is there; pull it first",
            )
        return matches[0]

    def _by_name(self, ref: str, images: Mapping[str, N]) -> N | None:
        try:
            name = self.canonical(ref)
            digest = "" if self.split_scheme(ref)[0] else self.parse(ref).digest
        except BarqueError:
            return None
        for image in images.values():
            if name in image.names or (digest and self._has_digest(image, ref, digest)):
                return image
        return None

    def _has_digest(self, image: _Named, ref: str, digest: str) -> bool:
        wanted = f"{self.parse(ref).repository}@{digest}"
        return wanted in image.digests

    def _shown(self, ref: str) -> str:
        try:
            return self.familiar(self.canonical(ref))
        except BarqueError:
            return ref
