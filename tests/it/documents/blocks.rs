//! The fenced blocks of a page.

/// A block between two fences.
pub(crate) struct Block {
    /// The word of the comment directly above the block, such as `<!-- run -->`.
    pub(crate) marker: Option<String>,
    /// The word behind the opening fence.
    pub(crate) language: String,
    pub(crate) text: String,
    /// The line on which the block begins, counted from 1.
    pub(crate) line: usize,
}

/// The blocks of a page, in order.
pub(crate) fn of(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = page.lines().enumerate();
    let mut above = "";
    while let Some((number, line)) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let inside: Vec<_> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
            let marker = above.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->"));
            blocks.push(Block {
                marker: marker.map(str::to_owned),
                language: language.to_owned(),
                text: inside.iter().map(|line| format!("{line}\n")).collect(),
                line: number + 1,
            });
        }
        above = line;
    }
    blocks
}

/// A page without its blocks.
pub(crate) fn outside_of_blocks(page: &str) -> String {
    page.split("\n```").step_by(2).collect()
}
