//! Lists of CPUs in the syntax of Linux and `--cpus`: `0-3,8,10-11`.

/// Largest accepted CPU number, beyond that of any system.
const LARGEST: usize = 1 << 16;

/// Numbers of a list in its order; none if the text isn't a list. An empty text is an empty list.
pub(super) fn parse(text: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',').map(str::trim) {
        if part.is_empty() && text.trim().is_empty() {
            break;
        }
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last || cpus.len() > LARGEST {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

/// A number of digits only: `parse` would accept a sign.
fn number(text: &str) -> Option<usize> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|&n| digits && n <= LARGEST)
}

/// The shortest text of a list. Consecutive numbers in ascending order become a range.
pub(super) fn text(cpus: &[usize]) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for &cpu in cpus {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => parts.push((cpu, cpu)),
        }
    }
    let part = |(first, last): (usize, usize)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    parts.into_iter().map(part).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_written() {
        assert_eq!(parse("0-3,8, 10-11\n"), Some(vec![0, 1, 2, 3, 8, 10, 11]));
        assert_eq!(parse("7,2"), Some(vec![7, 2]), "the order is kept");
        assert_eq!(parse(""), Some(vec![]));
        for wrong in [
            "x",
            "3-1",
            "1,",
            ",",
            "1,,2",
            "-1",
            "+1",
            "1-",
            "0-99999999999",
            "0x1",
            "0-65536,0-65536,0-65536",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        assert_eq!(text(&[0, 1, 2, 3, 8, 10, 11]), "0-3,8,10-11");
        assert_eq!(text(&[7, 2, 3]), "7,2-3");
        assert_eq!(text(&[]), "");
    }
}
