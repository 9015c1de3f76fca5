// What is left empty in the filters is left out.
$("#filters").on("submit", function () {
  $(this).find(":input").filter(function () { return this.value === ""; }).prop("disabled", true);
});
