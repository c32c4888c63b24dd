//! The shell blocks of a page, in order, with what the page declares for the tests in HTML comments.
//!
//! - `<!-- test: after how-to/x.md` at the head, up to `-->`: the page whose blocks run first, and in
//!   the lines below it shell commands that run before the page's own blocks.
//! - `<!-- not run: reason -->` before a block: a test cannot run it.
//! - `<!-- exits with N -->` before a block: its exit code, if it is not 0.
//!
//! It reads no other markup. A block is one that opens with ```` ```sh ````.

/// A page, as a test runs it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The page below `docs` whose blocks run first.
    pub after: Option<String>,
    /// Commands that run before the page's own.
    pub setup: String,
    pub blocks: Vec<Block>,
}

/// A shell block.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    pub text: String,
    pub exit_code: i32,
    /// Why no test can run it.
    pub not_run: Option<String>,
    /// The output that the page shows below the block.
    pub output: Option<String>,
}

/// Reads a page.
pub fn read(text: &str) -> Page {
    let mut page = Page::default();
    if let Some((_, rest)) = text.split_once("<!-- test:") {
        let (head, _) = rest.split_once("-->").expect("the comment ends");
        let (first, setup) = head.split_once('\n').unwrap_or((head, ""));
        page.after = first.trim().strip_prefix("after ").map(str::to_owned);
        setup.clone_into(&mut page.setup);
    }
    let mut notes: Vec<&str> = Vec::new();
    let mut lines = text.lines();
    let mut follows_block = false;
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let body: Vec<&str> =
                lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
            let body = body.join("\n") + "\n";
            if language == "sh" {
                page.blocks.push(block(body, &notes));
            } else if language.is_empty() && follows_block {
                page.blocks.last_mut().expect("a block before").output = Some(body);
            }
            follows_block = language == "sh";
            notes.clear();
        } else if let Some(note) = line.strip_prefix("<!-- ") {
            notes.push(note.trim_end_matches("-->").trim());
        } else if !line.is_empty() {
            notes.clear();
            follows_block = false;
        }
    }
    page
}

fn block(text: String, notes: &[&str]) -> Block {
    let note = |key: &str| notes.iter().find_map(|note| note.strip_prefix(key));
    Block {
        text,
        exit_code: note("exits with ").map_or(0, |code| code.parse().expect("an exit code")),
        not_run: note("not run: ").map(str::to_owned),
        output: None,
    }
}

/// The words of an output that do not change from run to run: letters only, at least four.
pub fn stable_words(output: &str) -> Vec<&str> {
    let words = output.split(|c: char| !c.is_ascii_alphanumeric());
    words
        .filter(|word| word.len() >= 4 && word.bytes().all(|byte| byte.is_ascii_alphabetic()))
        .collect()
}

#[test]
fn a_page_is_read_with_its_notes_and_the_output_it_shows() {
    let page = "# A\n\n<!-- test: after how-to/b.md\nfirst\nsecond\n-->\n\ntext\n\n```sh\none\n```\n\n```\nready 1a2b\n```\n\n\
                <!-- exits with 1 -->\n\n```sh\ntwo\n```\n\ntext\n\n```\nnot its output\n```\n\n\
                <!-- not run: needs Docker -->\n```sh\nthree\n```\n```sql\nSELECT 1\n```\n";
    let read = read(page);
    assert_eq!(
        (read.after.as_deref(), read.setup.as_str()),
        (Some("how-to/b.md"), "first\nsecond\n")
    );
    let [one, two, three] = &read.blocks[..] else { panic!("{:?}", read.blocks) };
    assert_eq!((one.text.as_str(), one.exit_code, &one.not_run), ("one\n", 0, &None));
    assert_eq!(stable_words(one.output.as_deref().unwrap()), ["ready"]);
    assert_eq!((two.exit_code, &two.output), (1, &None));
    assert_eq!(three.not_run.as_deref(), Some("needs Docker"));
}
