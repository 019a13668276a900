//! How often something is measured.

/// So many turns, or as many as `BENCH_TURNS` says.
pub(crate) fn number_of_turns(usual: usize) -> usize {
    let asked = std::env::var("BENCH_TURNS").ok().and_then(|asked| asked.trim().parse().ok());
    asked.unwrap_or(usual).max(1)
}
