"""The text that the example reads: three of Shakespeare's sonnets (1609, public domain), letters and blanks only."""

from __future__ import annotations

import re

import numpy as np

#: A token's number is its place here.
SYMBOLS = " abcdefghijklmnopqrstuvwxyz"

_SONNETS = """
Shall I compare thee to a summer's day?
Thou art more lovely and more temperate:
Rough winds do shake the darling buds of May,
And summer's lease hath all too short a date:
Sometime too hot the eye of heaven shines,
And often is his gold complexion dimm'd;
And every fair from fair sometime declines,
By chance or nature's changing course untrimm'd;
But thy eternal summer shall not fade
Nor lose possession of that fair thou owest;
Nor shall Death brag thou wander'st in his shade,
When in eternal lines to time thou growest:
So long as men can breathe or eyes can see,
So long lives this and this gives life to thee.

Let me not to the marriage of true minds
Admit impediments. Love is not love
Which alters when it alteration finds,
Or bends with the remover to remove:
O no! it is an ever-fixed mark
That looks on tempests and is never shaken;
It is the star to every wandering bark,
Whose worth's unknown, although his height be taken.
Love's not Time's fool, though rosy lips and cheeks
Within his bending sickle's compass come:
Love alters not with his brief hours and weeks,
But bears it out even to the edge of doom.
If this be error and upon me proved,
I never writ, nor no man ever loved.

That time of year thou mayst in me behold
When yellow leaves, or none, or few, do hang
Upon those boughs which shake against the cold,
Bare ruin'd choirs, where late the sweet birds sang.
In me thou see'st the twilight of such day
As after sunset fadeth in the west,
Which by and by black night doth take away,
Death's second self, that seals up all in rest.
In me thou see'st the glowing of such fire
That on the ashes of his youth doth lie,
As the death-bed whereon it must expire
Consumed with that which it was nourish'd by.
This thou perceivest, which makes thy love more strong,
To love that well which thou must leave ere long.
"""


def sonnets() -> str:
    """The text in the alphabet of :data:`SYMBOLS`: small letters, one blank between words."""
    plain = re.sub(r"[^a-z\s-]", "", _SONNETS.lower())
    return " ".join(re.split(r"[\s-]+", plain.strip()))


def tokens_of(text: str) -> np.ndarray:
    """Numbers of the symbols of a text.

    >>> tokens_of("the").tolist()
    [20, 8, 5]
    """
    return np.array([SYMBOLS.index(symbol) for symbol in text], dtype=np.int64)
