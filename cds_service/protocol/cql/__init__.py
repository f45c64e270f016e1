"""The protocol as CQL 1.5 over FHIR R4: a library for each rule that facts decide, and how a chart is read for them.

`libraries` writes them; what CQL does not say stands beside them with the reason. Nothing here is read back.
"""

from cds_service.protocol.cql.dosage import Reading
from cds_service.protocol.cql.libraries import Library, Written, libraries, offers_library, untold_library
from cds_service.protocol.cql.scope import SetPart, Unsaid
from cds_service.protocol.cql.translated import translated

__all__ = [
    "Library", "Reading", "SetPart", "Unsaid", "Written", "libraries", "offers_library", "translated",
    "untold_library",
]  # fmt: skip
