"""Recording what shells print, as asciicast version 3, by a process of its own.

Not by the keeper of screens: that one parses what anybody's shell prints, and a defect of its parser would
end everybody's recordings with it. Here nothing is parsed.
"""
