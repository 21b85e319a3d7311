"use strict";
// Copies commands, and marks in the table of contents the section that is read.
(() => {
  for (const button of document.querySelectorAll("button[data-copy]")) {
    const label = button.textContent;
    button.addEventListener("click", () => {
      const from = document.getElementById(button.dataset.copy);
      const range = document.createRange();
      range.selectNodeContents(from);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      // A page opened as a file may have no clipboard: the text is selected then.
      const copied = navigator.clipboard ? navigator.clipboard.writeText(from.textContent)
        : Promise.reject(new Error("no clipboard"));
      copied.then(() => "Copied", () => "Selected").then((told) => {
        button.textContent = told;
        setTimeout(() => { button.textContent = label; }, 1500);
      });
    });
  }

  const links = new Map([...document.querySelectorAll("nav li a")].map(
    (link) => [link.hash.slice(1), link]));
  const read = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      links.forEach((link) => link.removeAttribute("aria-current"));
      links.get(entry.target.id)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-20% 0px -70% 0px" });
  document.querySelectorAll("main > section").forEach((section) => read.observe(section));
})();
