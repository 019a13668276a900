//! The heap of glibc, which by itself is slow to give memory back. Other C libraries are left as they are.

/// Lets all threads share one heap. Blocking work has its own threads, sometimes many, and glibc would
/// give each thread a heap of its own. A second one takes a MiB more with a thousand attachments, and saves no time.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code, reason = "no library has a safe mallopt")]
pub(super) fn limit_arenas() {
    // SAFETY: it takes two numbers and touches no memory of this program; there is only one thread so far.
    let _ = unsafe { nix::libc::mallopt(nix::libc::M_ARENA_MAX, 1) };
}

/// Gives free memory back to the kernel. To check a thousand containers takes tens of MiB for some seconds, for the rules
/// of the host, and glibc would keep them.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code, reason = "no library has a safe malloc_trim")]
pub(super) fn give_back() {
    // SAFETY: it takes a number, and any thread may call it at any time; memory that is in use is not touched.
    let _ = unsafe { nix::libc::malloc_trim(0) };
}

#[cfg(not(target_env = "gnu"))]
pub(super) fn limit_arenas() {}

#[cfg(not(target_env = "gnu"))]
pub(super) fn give_back() {}

#[cfg(test)]
#[cfg(target_env = "gnu")]
mod tests {
    use super::*;

    fn resident_kib() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    fn free_memory_goes_back_although_some_behind_it_is_in_use() {
        // Small enough for the heap; larger pieces have a mapping each.
        let mut pieces: Vec<Vec<u8>> = (0..100_000).map(|_| vec![1; 512]).collect();
        let full = resident_kib();
        let last = pieces.pop();
        drop(pieces);
        give_back();
        let now = resident_kib();
        assert!(now + 40_000 < full, "{full} KiB before, {now} KiB now");
        assert_eq!(last.map(|piece| piece.len()), Some(512));
    }
}
