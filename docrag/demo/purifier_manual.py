"""The manual of a water purifier, with numbered steps, warnings and a troubleshooting table."""

from __future__ import annotations

import pymupdf

from docrag.demo.typeset import GREY, WIDTH, Colour, Style, Typesetter

TITLE = "Tarn 12 Portable Water Purifier: User Manual"
RED: Colour = (0.72, 0.12, 0.10)
AMBER: Colour = (0.80, 0.50, 0.05)

TROUBLES = [
    ["What you see", "Likely cause", "What to do"],
    ["Lamp off, pump silent", "Battery empty or loose", "Charge for 4 hours; press the pack until it clicks"],
    ["Lamp blinks blue", "Cartridge nearly used up", "Fit a new cartridge within 50 litres"],
    [
        "Lamp blinks red twice",
        "Air in the intake hose",
        "Submerge the strainer and hold PRIME for 10 seconds",
    ],
    ["Lamp blinks red four times", "Ultraviolet tube failed", "Do not drink; send the unit in for repair"],
    ["Weak flow, steady green", "Strainer or prefilter clogged", "Rinse both; see Cleaning the prefilter"],
    ["Water tastes of plastic", "New cartridge not flushed", "Run 5 litres and pour them away"],
    ["Drips at the lid", "Seal dry or dirty", "Wipe the seal and grease it with silicone"],
]
DATA = [
    ["Property", "Value"],
    ["Flow", "1.6 litres a minute at 20 degrees Celsius"],
    ["Cartridge life", "900 litres or 12 months, whichever comes first"],
    ["Battery", "Lithium iron phosphate, 38 watt hours, 140 litres a charge"],
    ["Weight", "2.4 kg with battery, without water"],
    ["Operating temperature", "2 to 45 degrees Celsius"],
    ["Protection", "IP65; the closed case floats"],
]


def build() -> pymupdf.Document:
    """Build four pages."""
    sheet = Typesetter(Style(body="helv", bold="hebo", size=12.5, accent=(0.05, 0.42, 0.40), running=TITLE))
    _safety(sheet)
    _first_use(sheet)
    _care(sheet)
    _troubles(sheet)
    return sheet.document


def _safety(sheet: Typesetter) -> None:
    sheet.page("1")
    sheet.sheet.draw_rect((0, 56, WIDTH, 176), color=None, fill=sheet.style.accent)
    white = (1.0, 1.0, 1.0)
    sheet.text(64, 116, "Tarn 12", "hebo", 34, white)
    sheet.text(64, 148, "Portable water purifier - user manual", "helv", 15, white)
    sheet.y = 200
    sheet.paragraph(
        """The Tarn 12 makes drinking water from lakes, streams and rain barrels. It strains the
        water, passes it through carbon and hollow fibres, and treats it with ultraviolet light.
        Read this manual before first use, and keep it in the lid of the case."""
    )
    sheet.heading("1 Safety")
    sheet.note(
        "WARNING",
        """Never use the purifier on sea water, on water downstream of mines, or on water with a
        film of fuel. It removes germs and some chemicals, not salt and not heavy metals.""",
        RED,
    )
    sheet.note(
        "WARNING",
        """Ultraviolet light harms eyes and skin. Do not open the lamp chamber. A switch cuts the
        lamp when the lid is lifted; do not bridge it.""",
        RED,
    )
    sheet.note(
        "CAUTION",
        """Frost destroys the fibres without leaving a mark. If the cartridge has frozen while wet,
        replace it, even if it looks sound.""",
        AMBER,
    )
    sheet.heading("2 What is in the case")
    for text in (
        "Purifier with battery pack and carrying strap",
        "Intake hose, 2 m, with float and strainer",
        "Outlet hose, 1 m, with a clip for bottles",
        "Cartridge C-12 in a sealed bag, and a tube of silicone grease",
        "Charger for 12 V and 230 V",
    ):
        sheet.paragraph(text, indent=14, mark="-")


def _first_use(sheet: Typesetter) -> None:
    sheet.page("2")
    sheet.heading("3 Before first use")
    sheet.steps(
        "Charge the battery for 4 hours. The lamp beside the socket turns green when it is full.",
        "Lift the lid, take the plug from the cartridge bay and keep it for storage.",
        "Tear open the bag, push cartridge C-12 into the bay with its arrow upwards, and turn it clockwise "
        "until it clicks.",
        "Close the lid. Connect the blue hose to IN and the clear hose to OUT.",
        "Put the strainer into clean tap water and run 5 litres. Pour this water away.",
    )
    sheet.heading("4 Making drinking water")
    sheet.steps(
        "Choose still, clear water where you can. Let muddy water stand for half an hour in a bucket.",
        "Set the float so that the strainer hangs a hand's breadth below the surface and above the ground.",
        "Press START. The pump primes for up to 20 seconds, then the lamp turns from white to green.",
        "Discard the first cup. Fill clean bottles from the clear hose, and let nothing touch its end.",
        "Press STOP, lift the strainer out and let the pump run dry for 5 seconds.",
    )
    sheet.note(
        "CAUTION",
        "Mark new hoses. A hose that has once carried raw water must never become the outlet.",
        AMBER,
    )
    sheet.heading("5 Signals of the lamp")
    for text in (
        "White: priming. No water leaves the unit yet.",
        "Green: the water is safe to drink.",
        "Blue, blinking: the cartridge has less than 50 litres left.",
        "Red, blinking: the pump has stopped. Count the blinks and look them up in section 8.",
    ):
        sheet.paragraph(text, indent=14, mark="-")


def _care(sheet: Typesetter) -> None:
    sheet.page("3")
    sheet.heading("6 Care")
    sheet.heading("6.1 Cleaning the prefilter", 1.15)
    sheet.steps(
        "Press STOP and close the clip on the intake hose.",
        "Unscrew the grey cup at the side by a quarter turn, and take out the steel mesh.",
        "Rinse the mesh against the direction of flow. Use a soft brush, never soap.",
        "Grease the ring thinly and screw the cup back until the marks meet.",
    )
    sheet.heading("6.2 Replacing the cartridge", 1.15)
    sheet.paragraph(
        """Replace the cartridge after 900 litres or twelve months, whichever comes first. The
        counter in the lid goes back to zero by itself when a new cartridge clicks in; used
        cartridges are household waste."""
    )
    sheet.heading("7 Storage")
    sheet.paragraph("For up to two weeks, keep the unit full of purified water in a cool place. For longer:")
    sheet.steps(
        "Pump one litre of purified water with a teaspoon of salt through the unit.",
        "Run it dry, take out the cartridge and let it drip for a day in the shade.",
        "Wrap the cartridge in its bag, put the plug into the bay, and leave the lid ajar.",
        "Charge the battery to half every six months.",
    )
    sheet.caption("Table 1: Technical data")
    sheet.table(DATA, (0.32, 0.68))


def _troubles(sheet: Typesetter) -> None:
    sheet.page("4")
    sheet.heading("8 Troubleshooting")
    sheet.paragraph(
        "Stop the pump before you look for a fault. If a fault comes back after the remedy, write to us."
    )
    sheet.caption("Table 2: Troubles and remedies")
    sheet.table(TROUBLES, (0.28, 0.28, 0.44))
    sheet.heading("9 Warranty and repair")
    sheet.paragraph(
        """The purifier is guaranteed for three years from the day of purchase, the battery for two.
        The guarantee does not cover frost, cartridges of other makers, or a bridged lid switch.
        Send the unit dry, without its battery, with a note of the lamp's signals."""
    )
    sheet.paragraph("Tarn Outdoor Works, 4 Millrace Lane, Upper Brindle")
    sheet.text(sheet.left, sheet.y + 16, "Manual T12-EN, third edition", "helv", 9.5, GREY)
