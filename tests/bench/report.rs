//! What is printed: headings, the machine, tables.

use std::fs::read_to_string;

/// Runs a part under its heading, with the machine's load before and after it.
pub async fn part<T>(title: &str, run: impl Future<Output = T>) -> T {
    println!("\n## {title}\n");
    println!("On {}. Load when it began: {}.\n", machine(), load());
    let result = run.await;
    println!("\nLoad when it ended: {}.", load());
    result
}

/// Prints a table.
pub fn table<const N: usize>(heads: [&str; N], rows: impl IntoIterator<Item = [String; N]>) {
    println!("| {} |", heads.join(" | "));
    println!("|{}", "---|".repeat(N));
    for row in rows {
        println!("| {} |", row.join(" | "));
    }
}

/// A whole number with its thousands apart.
pub fn thousands(number: impl TryInto<u128>) -> String {
    let digits = number.try_into().ok().expect("not below zero").to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).unwrap())
        .collect();
    groups.join(",")
}

/// A number of thousandths, to two places: microseconds as milliseconds.
pub fn thousandths(number: u64) -> String {
    let hundredths = (number + 5) / 10;
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// What part of the second the first is, to two places.
pub fn ratio(of: u64, to: u64) -> String {
    thousandths(1_000 * of / to.max(1))
}

/// The middle one; of none, zero.
pub fn median(mut of: Vec<u64>) -> u64 {
    of.sort_unstable();
    percentile(&of, 50)
}

/// Of sorted values, the one that so many in a hundred don't exceed; of none, zero.
pub fn percentile(sorted: &[u64], hundredth: usize) -> u64 {
    let place = (sorted.len() * hundredth).div_ceil(100);
    sorted.get(place.max(1) - 1).copied().unwrap_or_default()
}

fn machine() -> String {
    let cpus = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let models: Vec<&str> = cpus
        .lines()
        .filter(|line| line.starts_with("model name"))
        .filter_map(|line| Some(line.split_once(':')?.1.trim()))
        .collect();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let model = models.first().unwrap_or(&std::env::consts::ARCH);
    format!("{cores} cores of {model}")
}

fn load() -> String {
    let load = read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').take(3).collect::<Vec<_>>().join(" ")
}
