"""Sample pictures and footage, and the generators that make them. Not part of the installed distribution."""
