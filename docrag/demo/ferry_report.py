"""The annual report of a ferry cooperative, with a table, a bar chart and two series of page labels."""

from __future__ import annotations

import pymupdf

from docrag.demo.typeset import GREY, HEIGHT, WIDTH, Style, Typesetter

TITLE = "Skerry Lines Ferry Cooperative: Annual Report 2023"

REVENUE = [
    ["Segment, million crowns", "2021", "2022", "2023"],
    ["Passenger fares", "184.2", "213.6", "231.9"],
    ["Vehicle deck", "141.7", "149.3", "152.8"],
    ["Freight and parcels", "96.4", "88.1", "79.5"],
    ["Kiosk and catering", "12.3", "19.8", "24.6"],
    ["Public service contracts", "118.0", "121.5", "127.0"],
    ["Total revenue", "552.6", "592.3", "615.8"],
]
ROUTES = [
    ("Holm", 742.0),
    ("Inner Sound", 611.0),
    ("Varnish Bay", 388.0),
    ("Outer Skerries", 164.0),
    ("Night boat", 97.0),
]
FLEET = [
    ["Vessel", "Built", "Seats", "Cars", "Propulsion"],
    ["MV Kittiwake", "1998", "320", "42", "Diesel, refit 2024"],
    ["MV Guillemot", "2007", "410", "58", "Diesel-electric"],
    ["MV Razorbill", "2019", "280", "36", "Battery hybrid"],
    ["MV Eider", "2023", "190", "0", "Battery"],
]


def build() -> pymupdf.Document:
    """Build five pages, labelled i, ii, 1, 2 and 3."""
    sheet = Typesetter(Style(body="helv", bold="hebo", size=13, running=TITLE))
    _cover(sheet)
    _letter(sheet)
    _revenue(sheet)
    _traffic(sheet)
    _fleet(sheet)
    sheet.document.set_page_labels(
        [{"startpage": 0, "style": "r", "firstpagenum": 1}, {"startpage": 2, "style": "D", "firstpagenum": 1}]
    )
    return sheet.document


def _cover(sheet: Typesetter) -> None:
    sheet.page()
    accent = sheet.style.accent
    sheet.sheet.draw_rect((0, 0, WIDTH, 470), color=None, fill=accent)
    for n in range(4):
        wave = [(x, 470 + 16 * n - (8 if x // 40 % 2 else -8)) for x in range(-40, 680, 40)]
        sheet.sheet.draw_polyline(wave, color=(0.55, 0.72, 0.82), width=3 - 0.6 * n)
    white = (1.0, 1.0, 1.0)
    sheet.text(64, 300, "Skerry Lines", "hebo", 40, white)
    sheet.text(64, 340, "Ferry Cooperative", "helv", 26, white)
    sheet.text(64, 600, "Annual Report", "helv", 24, accent)
    sheet.text(64, 652, "2023", "hebo", 36, accent)
    sheet.text(64, HEIGHT - 64, "Owned by 6,412 islanders since 1954", "helv", 10, GREY)


def _letter(sheet: Typesetter) -> None:
    sheet.page("ii")
    sheet.heading("From the chair", 2.0)
    for text in (
        """Dear members, in 2023 your cooperative carried a little over two million passengers, the
        most since the bridge to Holm opened in 1987. We did so with one ship fewer in the first
        half of the year, because the Kittiwake's port gearbox kept her alongside from February to
        May.""",
        """Two decisions shaped the year. In March the general meeting voted to freeze resident
        fares until the end of 2025, and to pay for it from the surplus of the vehicle deck. In June
        we took delivery of the Eider, our first ship without an engine room. She charges from the
        quay in eleven minutes, and her crews report that for the first time passengers on deck can
        hear the birds after which we name our ships.""",
        """Freight keeps shrinking. Building materials for the wind farm filled our decks until
        2021; that work is finished, and parcels alone cannot replace it. The board has therefore
        closed the freight desk on the outer skerries and moved its three employees to the booking
        office.""",
        """The result allows a dividend of 4.5 crowns a share, after 4 crowns last year. We propose
        to put the remaining surplus of 18.3 million crowns into the fund for the second battery
        ship.""",
    ):
        sheet.paragraph(text)
    sheet.paragraph("Ragnhild Oskarsen, chair of the board", font="heit")
    sheet.heading("Contents")
    for name, page in (("Revenue", "1"), ("Traffic", "2"), ("Fleet and outlook", "3")):
        sheet.text(sheet.left, sheet.y + 10, name, "helv", 12)
        sheet.text(sheet.left + 200, sheet.y + 10, page, "helv", 12, align="right")
        sheet.y += 20


def _revenue(sheet: Typesetter) -> None:
    sheet.page("1")
    sheet.heading("Revenue", 2.0)
    sheet.paragraph(
        """Revenue rose by 4.0 per cent to 615.8 million crowns. Fares grew with the number of
        travellers, as ticket prices for residents stood still. The public service contracts follow
        the consumer price index of the previous year."""
    )
    sheet.heading("Revenue by segment")
    sheet.caption("Table 1: Revenue by segment, 2021 to 2023")
    sheet.table(REVENUE, (0.49, 0.17, 0.17, 0.17), totals=True)
    sheet.paragraph(
        """The vehicle deck earned 3.5 million more than the year before, although fewer cars
        crossed: motor homes pay by length, and there were more of them. Kiosk and catering doubled
        in two years after the cafeterias were taken back from the former leaseholder."""
    )
    sheet.heading("Costs")
    sheet.paragraph(
        """Fuel cost 98.7 million crowns, 11 per cent less than in 2022. Two thirds of the saving
        came from lower prices, one third from the Eider, whose electricity cost 2.9 million. Wages
        rose by 5.2 per cent under the agreement with the seafarers' union, which runs until April
        2025."""
    )


def _traffic(sheet: Typesetter) -> None:
    sheet.page("2")
    sheet.heading("Traffic", 2.0)
    sheet.paragraph(
        """Five routes carried 2,002 thousand passengers. The short crossing to Holm remains the
        busiest; the night boat grew fastest, by 23 per cent, since it connects with the sleeper
        train at Varnish Bay."""
    )
    sheet.bars(ROUTES, "thousand passengers", height=230, step=200)
    sheet.caption("Figure 1: Passengers by route in 2023, in thousands")
    sheet.heading("Punctuality")
    sheet.paragraph(
        """Of 31,460 departures 94.1 per cent left within five minutes of the timetable. We
        cancelled 512: 387 for wind above 22 metres a second, 96 for technical faults, and 29 for
        want of crew. Passengers on cancelled departures travelled free of charge on the next one,
        and received a hot meal where they waited longer than three hours."""
    )
    sheet.heading("Complaints")
    sheet.paragraph(
        """The ombudsman received 214 complaints, most of them about the booking of car space on
        summer Fridays. From May 2024 a third of each deck will be kept free for residents until two
        hours before departure."""
    )


def _fleet(sheet: Typesetter) -> None:
    sheet.page("3")
    sheet.heading("Fleet and outlook", 2.0)
    sheet.caption("Table 2: The fleet on 31 December 2023")
    sheet.table(FLEET, (0.28, 0.13, 0.13, 0.13, 0.33))
    sheet.paragraph(
        """The Kittiwake will be docked at the Tornvik yard from January to March 2024 for new
        gearboxes and heat pumps. The refit costs 44 million crowns and should keep her in service
        until 2034."""
    )
    sheet.heading("What we plan for 2024")
    for text in (
        "Order a second battery ship with room for 50 cars, for delivery in 2027.",
        "Install a charging mast at Inner Sound, with a buffer battery of 2 megawatt hours.",
        "Sell tickets on board without cash from 1 October; a counter in each port keeps taking coins.",
        "Train twelve apprentices, four of them as electricians for ships.",
    ):
        sheet.paragraph(text, indent=14, mark="-")
    sheet.heading("Risks")
    sheet.paragraph(
        """A quarter of revenue depends on contracts with the county that end in 2026. The tender is
        expected in autumn 2024. Interest on the loan for the Eider is fixed at 3.1 per cent until
        2033; a rise of one point would cost 1.6 million crowns a year on the remaining, variable
        debt."""
    )
