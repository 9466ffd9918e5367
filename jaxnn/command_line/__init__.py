"""`jaxnn train` and its sisters: from plain words to objects, and from results to files and tables."""
