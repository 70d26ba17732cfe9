"""Currencies, and the one place where an amount is rounded to what can be paid."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from ..errors import ProjectError

# ISO 4217 as of 2026-01-01: currencies that people pay with, by the decimals of their minor unit.
_DIGITS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF",
    2: "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY "
    "COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR "
    "ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK "
    "MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP "
    "SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VES WST XCD XCG YER ZAR "
    "ZMW ZWG",
    3: "BHD IQD JOD KWD LYD OMR TND",
}
CURRENCIES: dict[str, int] = {code: digits for digits, codes in _DIGITS.items() for code in codes.split()}
"""Currency to the decimals of its minor unit: USD 2, JPY 0, KWD 3."""


def digits(currency: str) -> int:
    """Decimals of a currency's minor unit. Raises ProjectError for what is no currency."""
    if currency not in CURRENCIES:
        raise ProjectError(
            f"{currency!r} is no currency of ISO 4217", try_="three capital letters, such as USD, EUR or CNY"
        )
    return CURRENCIES[currency]


def to_minor(amount: Fraction, currency: str) -> int:
    """R1: an invoice line's exact amount as whole minor units, half up away from zero."""
    units: int = 10 ** digits(currency)
    scaled = abs(amount) * units
    whole = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    return -whole if amount < 0 else whole


def payable(minor: int, currency: str) -> str:
    """Minor units as a decimal, such as "29.00", or "29" where the currency has no smaller unit."""
    places = digits(currency)
    if not places:
        return str(minor)
    whole, rest = divmod(abs(minor), 10**places)
    return f"{'-' if minor < 0 else ''}{whole}.{rest:0{places}d}"


def plain(rate: Decimal) -> str:
    """A rate in its one spelling: no exponent, no zeros at the end, so that 0.30 and 0.3 are one price."""
    text = f"{rate:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def exact(amount: Fraction) -> str:
    """An amount as the shortest decimal that is exactly it.

    Raises ValueError when there is none, such as for a third; prices of tokens never make one.
    """
    rest, twos, fives = amount.denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    if rest != 1:
        raise ValueError(f"{amount} has no exact decimal")
    places = max(twos, fives)
    scaled = abs(amount.numerator) * 10**places // amount.denominator
    sign = "-" if amount < 0 else ""
    if not places:
        return f"{sign}{scaled}"
    whole, decimals = divmod(scaled, 10**places)
    return f"{sign}{whole}.{decimals:0{places}d}"
