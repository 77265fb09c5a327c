"""Image names: canonical ones in the store, familiar ones for people, and finding an image by either."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol, TypeVar

from barque.oci.reference import parse_reference
from barque.spi.errors import BarqueError, InvalidArgument, NotFound

__all__ = ["ImageNames", "familiar"]

_ID = re.compile(r"(?:sha256:)?([0-9a-f]{1,64})")


class _Named(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def digests(self) -> tuple[str, ...]: ...


N = TypeVar("N", bound=_Named)


def familiar(name: str) -> str:
    """As Docker shows it; a name with a scheme stays as it is."""
    try:
        return parse_reference(name).familiar
    except BarqueError:
        return name


class ImageNames:
    """Knows the schemes of the profile's image sources."""

    def __init__(self, schemes: tuple[str, ...]) -> None:
        self._schemes = schemes

    def split_scheme(self, reference: str) -> tuple[str, str]:
        """`deb:bash` -> ("deb", "bash"); anything without a known scheme -> ("", reference)."""
        scheme, colon, rest = reference.partition(":")
        return (scheme, rest) if colon and scheme in self._schemes and rest else ("", reference)

    def canonical(self, reference: str) -> str:
        """What the store calls it. Errors: InvalidArgument."""
        scheme, _ = self.split_scheme(reference)
        return reference if scheme else parse_reference(reference).name

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
            digest = "" if self.split_scheme(ref)[0] else parse_reference(ref).digest
        except BarqueError:
            return None
        for image in images.values():
            if name in image.names or (digest and self._has_digest(image, ref, digest)):
                return image
        return None

    @staticmethod
    def _has_digest(image: _Named, ref: str, digest: str) -> bool:
        wanted = f"{parse_reference(ref).repository}@{digest}"
        return wanted in image.digests

    def _shown(self, ref: str) -> str:
        try:
            return familiar(self.canonical(ref))
        except BarqueError:
            return ref
