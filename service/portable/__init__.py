"""The knowledge as FHIR clinical reasoning, for other engines: CQL and ELM, and the resources around it.

`elm.py` and `cql_text.py` are the language, of which a small part is used; `logic.py` translates the knowledge into it;
`package.py` makes the FHIR package. It decides nothing, and the running service does not load it.
"""
