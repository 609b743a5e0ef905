//! What a process and a directory use, from `/proc` and the file system.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::BenchError;

/// Microseconds of a tick in `/proc/PID/stat`; 100 ticks a second on every Linux.
const TICK_US: u64 = 10_000;
/// Bytes of a block in file metadata.
const BLOCK: u64 = 512;

/// What a process has used since it began.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// CPU time, user and system, in microseconds; in steps of 10 ms.
    pub cpu_us: u64,
    /// Resident memory now, in KiB.
    pub resident_kib: u64,
    /// Most resident memory ever, in KiB.
    pub peak_kib: u64,
    /// Bytes it caused to be written to disks.
    pub written: u64,
}

impl Usage {
    /// Of a process.
    pub fn of(pid: u32) -> Result<Self, BenchError> {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            fs::read_to_string(&path).map_err(BenchError::io(path))
        };
        let bad = |file: &str| BenchError::Proc(format!("/proc/{pid}/{file}"));
        let (status, io) = (read("status")?, read("io")?);
        Ok(Self {
            cpu_us: cpu_us(&read("stat")?).ok_or_else(|| bad("stat"))?,
            resident_kib: entry(&status, "VmRSS:").ok_or_else(|| bad("status"))?,
            peak_kib: entry(&status, "VmHWM:").ok_or_else(|| bad("status"))?,
            written: entry(&io, "write_bytes:").ok_or_else(|| bad("io"))?,
        })
    }
}

/// CPU time that all processes of the machine and its kernel have used since it began, in microseconds, over all cores.
pub fn machine_cpu_us() -> Result<u64, BenchError> {
    let path = "/proc/stat";
    let stat = fs::read_to_string(path).map_err(BenchError::io(path))?;
    busy_us(&stat).ok_or_else(|| BenchError::Proc(path.to_owned()))
}

fn busy_us(stat: &str) -> Option<u64> {
    // cpu user nice system idle iowait irq softirq steal …: idle and iowait are time that nobody used.
    let fields: Vec<u64> = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().map_while(|field| field.parse().ok()).collect();
    let (used, rest) = (fields.get(..3)?, fields.get(5..8)?);
    Some((used.iter().sum::<u64>() + rest.iter().sum::<u64>()) * TICK_US)
}

fn cpu_us(stat: &str) -> Option<u64> {
    // The name before the last parenthesis may hold anything. After it, the state is field 3, utime 14 and stime 15.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(ticks * TICK_US)
}

/// CPU time of a process, its children, and those of its children that ended, in microseconds.
pub fn family_cpu_us(pid: u32) -> Option<u64> {
    let stat = |pid: u32| fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    let own = stat(pid)?;
    // Children that were waited for are fields 16 and 17.
    let fields: Vec<&str> = own.rsplit_once(')')?.1.split_whitespace().collect();
    let ended = fields.get(13)?.parse::<u64>().ok()? + fields.get(14)?.parse::<u64>().ok()?;
    let processes = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let children = processes.filter_map(stat).filter(|stat| parent(stat) == Some(pid)).filter_map(|stat| cpu_us(&stat));
    Some(cpu_us(&own)? + ended * TICK_US + children.sum::<u64>())
}

fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn entry(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

/// Bytes that a directory takes on its disk.
pub fn disk_bytes(directory: &Path) -> Result<u64, BenchError> {
    let failed = || BenchError::io(directory.display().to_string());
    let mut total = 0;
    for entry in fs::read_dir(directory).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        // A file may go away while we look.
        let Ok(metadata) = entry.metadata() else { continue };
        total += if metadata.is_dir() { disk_bytes(&entry.path())? } else { metadata.blocks() * BLOCK };
    }
    Ok(total)
}

/// Kind of the file system that a directory is on.
pub fn file_system(directory: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let kinds = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (point, kind) = (fields.next()?, fields.next()?);
        directory.starts_with(point).then_some((point.len(), kind))
    });
    kinds.max_by_key(|(length, _)| *length).map_or_else(|| "unknown".to_owned(), |(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 1 0 0 0 150 25 0 0 20 0 9 0 100 1 1";
        assert_eq!((cpu_us(stat), parent(stat)), (Some(1_750_000), Some(1)));
        assert_eq!(busy_us("cpu  10 1 5 1000 7 2 3 1 0 0\ncpu0 1 1 1 1 1 1 1 1\n"), Some(220_000));
        assert_eq!(entry("VmPeak:\t 9 kB\nVmHWM:\t  123 kB\n", "VmHWM:"), Some(123));
        let own = Usage::of(std::process::id()).expect("this process is there");
        assert!(own.peak_kib >= own.resident_kib && own.resident_kib > 0);
        assert!(family_cpu_us(std::process::id()).is_some_and(|us| us >= own.cpu_us));
    }

    #[test]
    fn a_directory_is_measured_with_what_is_below() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("below")).expect("made");
        fs::write(dir.path().join("below/file"), vec![1; 100_000]).expect("written");
        let bytes = disk_bytes(dir.path()).expect("measured");
        assert!((100_000..200_000).contains(&bytes), "{bytes}");
    }
}
