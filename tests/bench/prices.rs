//! What AWS asks, in whole numbers.

/// List prices of us-east-1, on demand and beyond the free tier, as published in November 2026's
/// price lists (DynamoDB's are in force since November 2024). In dollars × 10⁻⁶ for a million.
pub struct Prices {
    /// A million write request units.
    pub writes: u64,
    /// A million read request units.
    pub reads: u64,
    /// A million requests to an HTTP API.
    pub gateway: u64,
    /// A million invocations.
    pub invocations: u64,
    /// A million milliseconds of a function with half a gigabyte, on arm64.
    pub milliseconds: u64,
}

/// The ones that are used: 0.625, 0.125, 1.00 and 0.20 dollars a million, and 0.0000133334 a
/// gigabyte-second.
pub const LIST: Prices = Prices {
    writes: 625_000,
    reads: 125_000,
    gateway: 1_000_000,
    invocations: 200_000,
    milliseconds: 6_667,
};

/// What a million of something cost, in dollars × 10⁻⁶, by units written and tenths of units read.
pub fn table(write_units: u64, read_tenths: u64) -> u64 {
    write_units * LIST.writes + read_tenths * LIST.reads / 10
}

/// Dollars × 10⁻⁶ as dollars and cents.
pub fn dollars(micro: u64) -> String {
    let cents = (micro + 5_000) / 10_000;
    format!("${}.{:02}", cents / 100, cents % 100)
}
