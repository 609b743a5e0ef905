//! The program's memory allocator.

/// A tenth of the CPU per event, compared with the allocator of the system (docs/performance.md).
#[cfg(not(feature = "count-allocations"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(feature = "count-allocations")]
#[global_allocator]
static ALLOCATOR: &stats_alloc::StatsAlloc<std::alloc::System> = &stats_alloc::INSTRUMENTED_SYSTEM;

/// How to count allocations since the start, if this build does.
pub fn count() -> Option<fn() -> u64> {
    #[cfg(feature = "count-allocations")]
    return Some(|| {
        let stats = ALLOCATOR.stats();
        (stats.allocations + stats.reallocations) as u64
    });
    #[cfg(not(feature = "count-allocations"))]
    None
}
