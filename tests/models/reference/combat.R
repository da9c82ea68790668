# Reference values of ComBat from the R package sva: Rscript combat.R, in this folder (Debian: r-bioc-sva, r-cran-jsonlite).
# The parametric form with both location and scale, no covariate. sva stops its iteration at a relative change of 1e-4
# (conv in it.sol, not an argument of ComBat); it is tightened here, so that both sides are at the fixed point.
suppressPackageStartupMessages({library(sva); library(jsonlite)})
tight <- getFromNamespace("it.sol", "sva")
formals(tight)$conv <- 1e-13
assignInNamespace("it.sol", tight, ns = "sva")

set.seed(20)
cohort <- function(sizes, m) {
  batch <- rep(letters[seq_along(sizes)], sizes)
  shift <- matrix(rnorm(length(sizes) * m), ncol = m); stretch <- matrix(runif(length(sizes) * m, 0.5, 2), ncol = m)
  at <- match(batch, letters)
  x <- shift[at, ] + stretch[at, ] * matrix(rnorm(length(batch) * m), ncol = m)
  x <- sweep(x, 2, 10^(seq_len(m) %% 5 - 2), "*") + 5
  x <- signif(x, 8)
  list(batch = batch, x = x, harmonised = t(suppressMessages(ComBat(dat = t(x), batch = batch, par.prior = TRUE, mean.only = FALSE))))
}
out <- list(
  source = "ComBat of the R package sva (Leek and colleagues), par.prior = TRUE, mean.only = FALSE, no covariate, it.sol conv = 1e-13",
  versions = list(R = R.version.string, sva = as.character(packageVersion("sva"))),
  cases = list(two_batches = cohort(c(12, 8), 6), three_unequal_batches = cohort(c(20, 9, 5), 10), many_features = cohort(c(7, 6), 25))
)
write(toJSON(out, digits = I(15), auto_unbox = TRUE, pretty = FALSE), "combat.json")
