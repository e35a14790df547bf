"""Finished pictures, measured and shown.

In go painted pictures or films of any tool, the content they were painted from, and the styles. Out come the losses,
light and sharpness of each picture and the temporal consistency of films (`measure`, `stability`), their means and
trends (`summary`), and plots (`plots`, which loads matplotlib when it is called). A run plots the losses of its frames
by it too.
"""
