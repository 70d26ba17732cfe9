"""Licence names: SPDX identifiers, expressions of them, and LicenseRef names of one's own."""

from __future__ import annotations

import difflib
import re

from ..errors import SourceError
from .settings import Source

# Of https://spdx.org/licenses/: licences of texts, data and code that a corpus is made from.
_IDENTIFIERS = """
0BSD AFL-3.0 AGPL-3.0-only AGPL-3.0-or-later AML Apache-1.1 Apache-2.0 APSL-2.0 Artistic-1.0 Artistic-2.0
BlueOak-1.0.0 BSD-1-Clause BSD-2-Clause BSD-2-Clause-Patent BSD-3-Clause BSD-3-Clause-Clear
BSD-3-Clause-LBNL BSD-4-Clause BSL-1.0 bzip2-1.0.6 BUSL-1.1 C-UDA-1.0 CAL-1.0 CC-BY-1.0 CC-BY-2.0
CC-BY-2.5 CC-BY-3.0 CC-BY-3.0-AT CC-BY-3.0-DE CC-BY-3.0-US CC-BY-4.0 CC-BY-NC-1.0 CC-BY-NC-2.0
CC-BY-NC-2.5 CC-BY-NC-3.0 CC-BY-NC-4.0 CC-BY-NC-ND-3.0 CC-BY-NC-ND-4.0 CC-BY-NC-SA-2.0 CC-BY-NC-SA-2.5
CC-BY-NC-SA-3.0 CC-BY-NC-SA-4.0 CC-BY-ND-2.0 CC-BY-ND-3.0 CC-BY-ND-4.0 CC-BY-SA-1.0 CC-BY-SA-2.0
CC-BY-SA-2.5 CC-BY-SA-3.0 CC-BY-SA-3.0-DE CC-BY-SA-4.0 CC-PDDC CC0-1.0 CDDL-1.0 CDDL-1.1
CDLA-Permissive-1.0 CDLA-Permissive-2.0 CDLA-Sharing-1.0 CECILL-2.1 CECILL-B CECILL-C CPAL-1.0 CPL-1.0
curl DL-DE-BY-2.0 DL-DE-ZERO-2.0 ECL-2.0 EFL-2.0 EPL-1.0 EPL-2.0 etalab-2.0 EUPL-1.1 EUPL-1.2 FSFAP FTL
GFDL-1.1-only GFDL-1.1-or-later GFDL-1.2-only GFDL-1.2-or-later GFDL-1.3-only GFDL-1.3-or-later
GFDL-1.3-invariants-or-later GFDL-1.3-no-invariants-or-later GPL-1.0-only GPL-1.0-or-later GPL-2.0-only
GPL-2.0-or-later GPL-3.0-only GPL-3.0-or-later HPND ICU IJG Intel ISC JSON LAL-1.3 LGPL-2.0-only
LGPL-2.0-or-later LGPL-2.1-only LGPL-2.1-or-later LGPL-3.0-only LGPL-3.0-or-later Libpng LPL-1.02
LPPL-1.3c MIT MIT-0 MPL-1.1 MPL-2.0 MPL-2.0-no-copyleft-exception MS-PL MS-RL MulanPSL-2.0 NAIST-2003
NCGL-UK-2.0 NCSA NLOD-1.0 NLOD-2.0 NPOSL-3.0 O-UDA-1.0 ODbL-1.0 ODC-By-1.0 OFL-1.1 OGC-1.0 OGL-Canada-2.0
OGL-UK-1.0 OGL-UK-2.0 OGL-UK-3.0 OLDAP-2.8 OpenSSL OPUBL-1.0 OSL-3.0 PDDL-1.0 PHP-3.01 PostgreSQL PSF-2.0
Python-2.0 Python-2.0.1 QPL-1.0 Ruby SISSL SSPL-1.0 Unicode-3.0 Unicode-DFS-2016 Unicode-TOU Unlicense
UPL-1.0 Vim W3C W3C-19980720 WTFPL X11 XFree86-1.1 Zlib zlib-acknowledgement ZPL-2.1
"""
_SPDX = frozenset(_IDENTIFIERS.split())
_REF = re.compile(r"(?:DocumentRef-[A-Za-z0-9.\-]+:)?LicenseRef-[A-Za-z0-9.\-]+")
_EXCEPTION = re.compile(r"[A-Za-z0-9.\-]+-exception(?:-[0-9.]+)?")
# Old spellings that people still write; SPDX asks which of the two is meant.
_PLUS = re.compile(r"((?:A|L)?GPL-[0-9.]+|GFDL-[0-9.]+)(\+?)")


def check(source: Source) -> None:
    """Raise SourceError unless the source names a known licence and an owner."""
    if not source.owner.strip():
        raise SourceError(
            "a source must name who holds the rights", where=f"source {source.path}", try_="owner: NAME"
        )
    if not source.licence.split():
        raise SourceError(
            "a source must name its licence",
            where=f"source {source.path}",
            try_="an SPDX identifier such as CC-BY-4.0, or LicenseRef-NAME for terms of your own",
        )
    unknown = first_unknown(source.licence)
    if unknown is not None:
        raise SourceError(
            f"unknown licence {source.licence!r}", where=f"source {source.path}", try_=suggestion(unknown)
        )


def first_unknown(licence: str) -> str | None:
    """The first word of a licence expression that is out of place or not known; None when there is none."""
    words = licence.replace("(", " ").replace(")", " ").split()
    for at, word in enumerate(words):
        if at % 2:
            known = word.upper() in ("AND", "OR", "WITH")
        elif at and words[at - 1].upper() == "WITH":
            known = _EXCEPTION.fullmatch(word) is not None
        else:
            known = word in _SPDX or _REF.fullmatch(word) is not None
        if not known or (at % 2 and at == len(words) - 1):
            return word
    return None if words else ""


def suggestion(word: str) -> str:
    """What may have been meant by a word that is no licence."""
    old = _PLUS.fullmatch(word)
    if old:
        return f"{old[1]}-or-later" if old[2] else f"{old[1]}-only or {old[1]}-or-later"
    lower = {name.lower(): name for name in sorted(_SPDX)}
    near = difflib.get_close_matches(word.lower(), lower, n=1, cutoff=0.5)
    own = "LicenseRef-NAME for terms of your own"
    return f"{lower[near[0]]}, or {own}" if near else f"an identifier of https://spdx.org/licenses, or {own}"
