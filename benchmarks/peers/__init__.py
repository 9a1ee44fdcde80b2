"""Other systems that run steps one after the other, each as its documentation shows it: see the README beside this."""
