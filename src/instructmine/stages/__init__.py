"""The verbs: each stage wires nouns and plug-ins together and does no maths of its own."""
