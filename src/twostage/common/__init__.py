"""What every package uses and what knows nothing of studies: errors, files, counts as text, provenance.

`errors` (`UserError`), `storage` (atomic files), `units` (`300B` <-> 3e11), `markdown` (tables as text), `scripting` (entry
point of scripts), `provenance` (versions and the commit behind a result), `revisions` (one integer for each stage),
`sections` (base class of the sections of a study file), `architecture` (shape of a model), `canonical` (names and shapes of its
weights). Imports nothing else of the library.
"""
