"""How the rows are told: on a terminal as they are decided, and afterwards as JSON, JUnit, a page, and a checklist."""
