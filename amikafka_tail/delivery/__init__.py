"""From events to acknowledged messages: the pipeline and what it decides with."""
