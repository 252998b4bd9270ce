"""A scenario as it is written, section by section; `model.Scenario` is the whole."""
