//! Ids with times between them to segments, and where the next window begins. Source: the seek rule of openai-whisper's `transcribe.py`.
//! Pure; positions are those of the encoder, 20 ms each.

/// A piece of the text between two times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) start: u32,
    pub(super) end: u32,
    /// Without times.
    pub(super) ids: Vec<u32>,
}

/// The pieces, and how many positions of the window are done with.
pub(super) fn cut(ids: &[u32], first_time: u32, window: u32) -> (Vec<Piece>, u32) {
    let is_time = |id: &u32| *id >= first_time;
    let place = |id: u32| (id - first_time).min(window);
    let text = |ids: &[u32]| ids.iter().copied().filter(|id| *id < first_time).collect::<Vec<u32>>();
    let ends_with_one = match ids {
        [.., before, last] => is_time(last) && !is_time(before),
        _ => false,
    };
    let mut cuts: Vec<usize> = (1..ids.len()).filter(|at| is_time(&ids[*at]) && is_time(&ids[at - 1])).collect();
    if cuts.is_empty() {
        let last = ids.iter().copied().rfind(is_time).map_or(0, place);
        let end = if last > 0 { last } else { window };
        return (vec![Piece { start: 0, end, ids: text(ids) }], window);
    }
    if ends_with_one {
        cuts.push(ids.len());
    }
    let (mut pieces, mut from) = (Vec::new(), 0);
    for cut in cuts {
        let part = &ids[from..cut];
        if let (Some(first), Some(last)) = (part.first().filter(|id| is_time(id)), part.last().filter(|id| is_time(id))) {
            pieces.push(Piece { start: place(*first), end: place(*last), ids: text(part) });
        }
        from = cut;
    }
    let done = if ends_with_one { window } else { ids[..from].iter().copied().rfind(is_time).map_or(window, place) };
    (pieces, done)
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: u32 = 100;

    fn piece(start: u32, end: u32, ids: &[u32]) -> Piece {
        Piece { start, end, ids: ids.to_vec() }
    }

    #[test]
    fn a_text_that_ends_with_one_time_ends_the_window() {
        assert_eq!(cut(&[T, 1, 2, T + 40], T, 150), (vec![piece(0, 40, &[1, 2])], 150));
        let ids = [T, 1, T + 20, T + 30, 2, T + 40];
        assert_eq!(cut(&ids, T, 150), (vec![piece(0, 20, &[1]), piece(30, 40, &[2])], 150));
    }

    #[test]
    fn a_segment_that_was_begun_is_heard_again() {
        let ids = [T, 1, T + 20, T + 20, 2, T + 90, T + 90];
        assert_eq!(cut(&ids, T, 150), (vec![piece(0, 20, &[1]), piece(20, 90, &[2])], 90));
        let ids = [T, 1, T + 20, T + 25, 2, 3];
        assert_eq!(cut(&ids, T, 150), (vec![piece(0, 20, &[1])], 20));
    }

    #[test]
    fn without_times_it_is_the_whole_window() {
        assert_eq!(cut(&[1, 2], T, 150), (vec![piece(0, 150, &[1, 2])], 150));
        assert_eq!(cut(&[], T, 150), (vec![piece(0, 150, &[])], 150));
    }
}
