"""Gradient bugs with a published source, each a small rule of our own with the same bug in it."""

from bugs.bug import Bug
from bugs.elementwise import ELEMENTWISE
from bugs.networks import NETWORKS
from bugs.normalizations import NORMALIZATIONS
from bugs.objectives import OBJECTIVES
from bugs.windows import WINDOWS

PUBLISHED: tuple[Bug, ...] = ELEMENTWISE + NORMALIZATIONS + WINDOWS + NETWORKS + OBJECTIVES
