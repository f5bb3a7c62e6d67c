"""A leaflet in German about a village heating network."""

from __future__ import annotations

import pymupdf

from docrag.demo.typeset import Style, Typesetter

TITLE = "Energiegenossenschaft Moorwinkel: Das Nahwärmenetz"

PRICES = [
    ["Preisbestandteil", "2022", "2023", "2024"],
    ["Grundpreis, Euro im Jahr", "312", "324", "324"],
    ["Arbeitspreis, Cent je kWh", "9,8", "11,4", "10,6"],
    ["Messung und Abrechnung, Euro im Jahr", "48", "48", "52"],
]
SOURCES = [("Holz", 46.0), ("Solarthermie", 21.0), ("Wärmepumpe", 19.0), ("Biogas", 11.0), ("Heizöl", 3.0)]


def build() -> pymupdf.Document:
    """Build two pages."""
    sheet = Typesetter(Style(size=13.5, accent=(0.33, 0.42, 0.12), running=TITLE))
    _network(sheet)
    _connection(sheet)
    return sheet.document


def _network(sheet: Typesetter) -> None:
    sheet.page("1")
    sheet.heading("Das Nahwärmenetz Moorwinkel", 2.0)
    sheet.paragraph(
        """Seit dem Herbst 2019 versorgt unsere Genossenschaft 143 Häuser, die Schule und das
        Freibad mit Wärme. Das Netz ist 6,2 Kilometer lang. Es gehört den 188 Mitgliedern, und jedes
        Mitglied hat eine Stimme, gleich wie viele Anteile es hält."""
    )
    sheet.heading("Woher die Wärme kommt")
    sheet.paragraph(
        """Fast die Hälfte der Wärme stammt aus Hackschnitzeln, die im Umkreis von 25 Kilometern bei
        der Pflege von Hecken und Wäldern anfallen. Von Mai bis September genügt das Kollektorfeld
        am Sportplatz; der Kessel ruht dann. Heizöl brauchen wir nur noch an wenigen sehr kalten
        Tagen."""
    )
    sheet.bars(SOURCES, "Anteil in Prozent", height=200, step=10)
    sheet.caption("Abbildung 1: Wärme nach Herkunft im Jahr 2023, in Prozent")
    sheet.heading("Der Speicher")
    sheet.paragraph(
        """Ein Erdbecken mit 4.000 Kubikmetern Wasser hält die Sommerwärme bis in den November. Der
        Deckel schwimmt und wurde im April 2023 neu gedämmt, weil sich darunter Feuchtigkeit
        gesammelt hatte. Die Verluste sanken dadurch um ein Fünftel."""
    )


def _connection(sheet: Typesetter) -> None:
    sheet.page("2")
    sheet.heading("Preise und Anschluss", 2.0)
    sheet.caption("Tabelle 1: Wärmepreise für Haushalte, mit Mehrwertsteuer")
    sheet.table(PRICES, (0.55, 0.15, 0.15, 0.15))
    sheet.paragraph(
        """Der Arbeitspreis sinkt 2024, weil Hackschnitzel wieder billiger geworden sind. Er wird
        jedes Jahr im Oktober von der Versammlung beschlossen und gilt dann für das folgende
        Kalenderjahr."""
    )
    sheet.heading("So wird Ihr Haus angeschlossen")
    sheet.steps(
        "Sie stellen einen Antrag und zeichnen mindestens fünf Anteile zu je 200 Euro.",
        "Unser Techniker misst die Leitungen im Keller und berechnet die nötige Leistung.",
        "Zwischen März und Oktober verlegen wir den Anschluss. Im Preis von 4.900 Euro sind "
        "15 Meter enthalten, jeder weitere Meter kostet 180 Euro.",
        "Die alte Heizung wird ausgebaut. Den Öltank reinigt und entsorgt ein Fachbetrieb auf Ihre Kosten.",
        "Nach der Spülung der Rohre stellen wir die Übergabestation ein. Ab diesem Tag wird gezählt.",
    )
    sheet.heading("Bei Störungen")
    sheet.paragraph(
        """Der Bereitschaftsdienst ist Tag und Nacht besetzt. Bleibt ein Haus länger als acht
        Stunden ohne Wärme, stellen wir elektrische Heizgeräte bereit und erlassen den Grundpreis
        für einen Monat."""
    )
