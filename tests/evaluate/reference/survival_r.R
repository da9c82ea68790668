# Values of R's survival, riskRegression and Hmisc on survival_sample.json: Rscript survival_r.R
# Debian: r-cran-survival r-cran-riskregression r-cran-jsonlite (Hmisc comes with riskRegression).
# Greenwood-Nam-D'Agostino (Demler 2015, eq. 4, on the scale of log(-log S) with g degrees of freedom) and D-calibration
# (Haider 2020, eq. 16) are written here from the papers.
library(survival)
suppressMessages(library(riskRegression))
library(jsonlite)

sample <- fromJSON("survival_sample.json")
times <- sample$times
horizons <- sample$horizons
TAU <- max(times)

km <- function(d) {
  fit <- survfit(Surv(time, event) ~ 1, data = d, conf.type = "log-log")
  s <- summary(fit, times = horizons)
  at <- lapply(seq_along(horizons), function(i) {
    list(survival = s$surv[i], low = s$lower[i], high = s$upper[i], error = s$std.err[i], at_risk = s$n.risk[i],
         hazard = s$cumhaz[i], hazard_error = s$std.chaz[i])
  })
  names(at) <- horizons
  m <- summary(fit, rmean = TAU)$table
  list(at = at, rmst = unname(m["rmean"]), rmst_error = unname(m["se(rmean)"]), median = unname(m["median"]))
}

logrank <- function(formula, d) {
  s <- survdiff(formula, data = d)
  sums <- function(x) if (is.matrix(x)) rowSums(x) else x
  list(statistic = s$chisq, observed = sums(s$obs), expected = sums(s$exp))
}

uno <- function(d) {
  # timewt n/G2: G just before each time, from these very patients
  sapply(as.character(horizons), function(h)
    unname(concordance(Surv(time, event) ~ risk, data = d, reverse = TRUE, timewt = "n/G2", ymax = as.numeric(h))$concordance))
}

scores <- function(d) {
  object <- list(model = 1 - d$curve[, match(horizons, times)])
  made <- Score(object, formula = Surv(time, event) ~ 1, data = d[, c("time", "event")], times = horizons,
                metrics = c("auc", "brier"), cens.model = "km", null.model = TRUE, se.fit = FALSE, contrasts = FALSE)
  pick <- function(table, who, column) {
    rows <- as.data.frame(table)
    rows <- rows[rows$model == who, ]
    setNames(as.list(rows[[column]]), rows$times)
  }
  list(brier = pick(made$Brier$score, "model", "Brier"), brier_null = pick(made$Brier$score, "Null model", "Brier"),
       auc = pick(made$AUC$score, "model", "AUC"))
}

gnd <- function(d, horizon, groups) {
  f <- d$curve[, match(horizon, times)]
  cuts <- quantile(f, seq(0, 1, length.out = groups + 1)[2:groups], type = 7)
  g <- findInterval(f, cuts, left.open = TRUE)
  terms <- sapply(split(seq_along(f), g), function(i) {
    s <- summary(survfit(Surv(time[i], event[i]) ~ 1, data = d), times = horizon, extend = TRUE)
    gap <- log(-log(s$surv)) - log(-log(mean(f[i])))
    c((gap * s$surv * log(s$surv) / s$std.err)^2, sum(d$event[i] == 1 & d$time[i] <= horizon), s$surv, mean(f[i]))
  })
  list(statistic = sum(terms[1, ]), p = pchisq(sum(terms[1, ]), groups, lower.tail = FALSE), events = terms[2, ],
       observed = terms[3, ], forecast = terms[4, ])
}

own_survival <- function(d) {
  sapply(seq_len(nrow(d)), function(i) approx(c(0, times), c(1, d$curve[i, ]), xout = min(d$time[i], TAU))$y)
}

dcal <- function(d, bins = 10) {
  s <- own_survival(d)
  event <- d$event == 1 & d$time <= TAU
  n <- rep(0, bins)
  for (i in seq_along(s)) for (k in seq_len(bins)) {
    a <- (k - 1) / bins
    b <- k / bins
    inside <- s[i] >= a && (s[i] < b || (k == bins && s[i] <= b))
    if (event[i]) n[k] <- n[k] + inside
    else if (inside) n[k] <- n[k] + (s[i] - a) / s[i]
    else if (s[i] >= b) n[k] <- n[k] + (b - a) / s[i]
  }
  statistic <- sum((n - length(s) / bins)^2 / (length(s) / bins))
  list(counts = n, statistic = statistic, p = pchisq(statistic, bins - 1, lower.tail = FALSE))
}

ici <- function(d, horizon) {
  f <- d$curve[, match(horizon, times)]
  x <- log(-log(f))
  knots <- quantile(x, c(0.1, 0.5, 0.9), type = 7)
  b <- Hmisc::rcspline.eval(x, knots = knots, inclx = TRUE, norm = 2)
  d$x1 <- b[, 1]
  d$x2 <- b[, 2]
  fit <- coxph(Surv(time, event) ~ x1 + x2, data = d, ties = "breslow", control = coxph.control(eps = 1e-11, toler.chol = 1e-13, iter.max = 100))
  curves <- survfit(fit, newdata = d, stype = 2, ctype = 1, se.fit = FALSE)
  s <- as.numeric(summary(curves, times = horizon)$surv)
  gap <- abs(s - f)
  list(ici = mean(gap), e50 = unname(quantile(gap, 0.5)), e90 = unname(quantile(gap, 0.9)))
}

frame <- function(part) {
  d <- data.frame(time = part$time, event = part$event, risk = part$risk, group = part$group, stratum = part$stratum)
  d$curve <- part$curve
  d
}

values <- function(cohort) {
  train <- frame(cohort$train)
  test <- frame(cohort$test)
  all <- rbind(train, test)
  two <- all[all$group != "middle", ]
  by <- split(all, all$group)
  list(
    kaplan_meier = km(all),
    groups = lapply(by, km),
    log_rank = logrank(Surv(time, event) ~ group, all),
    log_rank_stratified = logrank(Surv(time, event) ~ group + strata(stratum), all),
    log_rank_two = logrank(Surv(time, event) ~ group, two),
    uno_c = as.list(uno(all)),
    scores = scores(all),
    horizon_test = gnd(all, 24, 4),
    d_calibration = dcal(all),
    ici = ici(all, 24)
  )
}

versions <- sapply(c("survival", "riskRegression", "Hmisc"), function(p) as.character(packageVersion(p)))
content <- list(
  source = "R survival (survfit log-log, survdiff, rmean, concordance n/G2), riskRegression (Score, cens.model km), Hmisc (rcspline.eval)",
  versions = as.list(c(R = paste(R.version$major, R.version$minor, sep = "."), versions)),
  continuous = values(sample$continuous), months = values(sample$months))
write(toJSON(content, digits = NA, auto_unbox = TRUE, pretty = 1), "survival_r.json")
