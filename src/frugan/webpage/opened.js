// A browser does not let a page that was opened as a file read the files beside it, so page.js never begins. Say what to do.
if (location.protocol === "file:") {
  const trouble = document.getElementById("trouble");
  trouble.textContent = "This folder must be served, e.g. by python -m http.server. A page that opens by double click is made with single_file=true.";
  trouble.hidden = false;
  document.getElementById("status").hidden = true;
}
